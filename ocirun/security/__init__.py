"""Capabilities, seccomp, AppArmor, SELinux, keyrings, sysctls, and the check of the seal."""
