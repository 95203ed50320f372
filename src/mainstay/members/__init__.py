"""Who belongs to a company: invitations, members and their roles, departments, and the company itself."""
