"""Pictures for a person: contact sheets."""
