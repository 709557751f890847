"""What a run says afterwards: judged phases, the JSON result, JUnit, a self-contained HTML page.

Everything here is a pure function of what the run recorded. Nothing here talks to a service.
"""
