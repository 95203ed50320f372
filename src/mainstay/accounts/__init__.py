"""How people get in and keep their accounts: signing in, sessions, passwords, email addresses, and letters."""
