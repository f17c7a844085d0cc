"""Records: runs as the clients of /v1/tasks know them, who call a run a task, and their States (contract sections 14 to 19).

An answer is the object itself, in which every key is always present. `PUT` merges: what is absent stays, null clears.
The same keys, scopes and rows as everywhere: the organization is the workspace, the author is whoever created it.

A run with a holder is a claim. It is shown here like any other and its holder may write results into it while the
claim lives; but its status and times are the claim's, and only the operations on claims change them.
"""
