"""What every room stands on and what imports nothing of ours: time, ids, errors, secrets, settings, the database,
announcements, the words for work, the outbound client, cursors, retries and telemetry. Import its modules by name."""
