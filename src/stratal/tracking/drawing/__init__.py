"""Drawing: text that is HTML or SVG and cannot be broken into, axes, and charts of plain values. Rooms draw with it too.

May live here: markup, frames and ticks, charts that know values and labels, the page that holds them, drawing with characters.
May not: runs, metrics, the store; what a chart is of is decided by who calls. Nothing here reads a file of a user's.
"""
