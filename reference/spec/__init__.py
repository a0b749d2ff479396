"""What a model is: files, layouts, shapes and tables; no arithmetic of a forward pass. The one part the engine may read."""
