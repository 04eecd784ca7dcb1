"""What people see on an asset's page: charts, previews, links to the code."""
