"""What scripts written for W&B call, over our runs: the same names, arguments and traps as wandb 0.31.

May live here: those names, and nothing that W&B does not have. May not: features of our own (scripts that want them say `st.`),
reading `.wandb` files, the wandb library. What cannot be done raises and says what to write instead.
"""
