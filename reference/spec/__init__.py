"""What a model is: files, layouts, shapes and tables; no forward pass. The one part the engine may read."""
