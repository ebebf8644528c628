"""The statistics server: volume and speed per ISP, resource and interval."""
