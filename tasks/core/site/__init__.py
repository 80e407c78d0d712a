"""site.yaml: read strictly, validated, resolved; the site as frozen values."""
