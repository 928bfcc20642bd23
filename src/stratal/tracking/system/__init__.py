"""System metrics: how busy machine, processes and GPUs are while a run goes on.

May live here: reading the machine, turning two readings into rates, the one thread per process that does it.
May not: anything that a user's thread waits for, and anything that raises into a run: what cannot be read is left out.
"""
