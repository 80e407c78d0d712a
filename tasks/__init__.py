"""The stages of the pipeline, one module each: what is built from what. How it is done is in `tasks.core`."""
