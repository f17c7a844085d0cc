"""The OpenAPI 3.1 document, derived from the operations: GET /openapi.json serves it, docs/openapi.json keeps it.

document     the whole: what it says of the service, its two pages, and what is shared
paths        one POST per operation, and a GET for those that only read
records      the same for records, which have methods and parameters in paths
schemas      every schema by name: requests, answers in their envelopes, errors
structs      the schema of one struct, with its rules
failures     which errors an operation can answer with, and what they are called
headers      what stands beside every request and answer
"""
