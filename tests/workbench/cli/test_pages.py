"""`workbench serve` starts the pages as a program and leaves this one as it was."""

from __future__ import annotations

import sys


def test_pages_that_cannot_be_served_leave_the_arguments_of_this_program(cli):
    before = list(sys.argv)
    assert cli("serve", "--port", "99999").status == 2
    assert sys.argv == before
