"""The AWS side: which endpoint and credentials, the emulator as a child process, provisioning, counting back."""
