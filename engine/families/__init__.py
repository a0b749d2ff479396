"""One file per model family: the weights it loads and its step, straight down the page."""
