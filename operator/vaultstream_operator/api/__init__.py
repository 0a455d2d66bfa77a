"""Status, conditions, reasons and the CRD of SigningJob."""
