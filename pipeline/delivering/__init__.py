"""What a delivery stream does with its records between the buffer and S3: transform, partition, convert, compress, name.

Everything here is a pure function of the records and the settings, except the transform, which calls a Lambda
function. The service that buffers and uploads is `pipeline/delivery.py`.
"""
