"""A Power BI project per business, as text: its semantic model from dbt's contracts and metrics, and its report."""
