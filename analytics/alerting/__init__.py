"""Telling people: which incidents are news, in which words, by which channels, and what happens when one is away.

Nothing here judges traffic or acts on a device, and no AWS is called: the channels over SNS and S3 are the pipeline's.
"""
