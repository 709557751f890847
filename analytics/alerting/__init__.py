"""Telling people: which incidents are news, in which words, by which channels, and what happens when one is away."""
