"""The super node: a cache at an ISP's exit, steered by the manager."""
