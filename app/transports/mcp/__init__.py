"""Operations over the Model Context Protocol: tools for the agents people already run, at `/mcp`.

`tools` makes tools of operations and `documents` makes resources of reads; `endpoint` answers to both, one HTTP
exchange at a time, which is a `call`; `messages` is as much of JSON-RPC as that takes; `bridge` is for clients
that speak stdio only. Nothing here names an operation: what there is comes from the list of them.
"""
