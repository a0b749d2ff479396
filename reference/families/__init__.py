"""Whole models, one page each: the forward pass from tokens to logits, driven by either form (reference.forms)."""
