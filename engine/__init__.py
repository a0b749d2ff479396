"""How the GPU gets the answer: kernels, launchers, buffers, graph and session, one code for both devices."""
