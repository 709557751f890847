"""The AWS side: which endpoint and credentials, the emulator as a child process, provisioning, counting back.

The template is here, what is made of it, and what it costs. No message passes through here: that is the work of
the rules, the worker and the delivery stream beside it.
"""
