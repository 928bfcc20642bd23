"""What users read of runs and decide about them, as typed operations: the same here, and at a server for a store behind its URL.

May live here: classes of operations by subject, the records that they take and give, and what makes these out of rows.
May not: SQL (that is `tracking.store`), handles on runs or files, or what only one's own process knows, such as its open runs.
Every operation either is scoped, and gives nothing of what its reader may not see, or names what a role is needed on.
"""
