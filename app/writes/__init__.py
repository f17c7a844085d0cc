"""The ground under all that is written: receipts for idempotency keys, the fence of claims, and who may touch what."""
