"""A GGUF file as a transformers model: everything that it says of the computation is kept, or the file is refused."""
