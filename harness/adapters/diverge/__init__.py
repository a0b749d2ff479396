"""Running the same tokens in different ways, and keeping the op at which two of them part."""
