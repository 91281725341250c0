"""Every way to get a session, as something that can be run again and again and paid for by the step."""
