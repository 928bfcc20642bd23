"""TensorBoard event files, as torch, tensorboardX, TensorFlow and Keras write them.

May live here: the frame of event files and its checksum, the messages in it, what they mean for a run, finding them under a folder.
May not: what other tools share (`stratal.interop` itself), a store.
"""
