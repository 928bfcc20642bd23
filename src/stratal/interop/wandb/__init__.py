"""Files of Weights & Biases runs (`run-<id>.wandb`, offline and online), read by our own code.

May live here: the container, the messages in it, what they mean for a run, the files beside it, finding them under a folder.
May not: what other tools share (`stratal.interop` itself), a store, the wandb library.
"""
