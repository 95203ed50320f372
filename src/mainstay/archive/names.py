"""Names of objects: one a company, workspace and day."""

from datetime import date


def object_name(company_id: str, workspace_id: str, day: date) -> str:
    """`{companyId}/{workspaceId}/{YYYY-MM-DD}.json.gz`; the day is that of receivedAt in UTC."""
    return f"{company_id}/{workspace_id}/{day.isoformat()}.json.gz"
