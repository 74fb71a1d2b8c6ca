"""The interface by which Docker 0.11 ran containers, with its two drivers: native and lxc.

    driver           Driver, Command, Pipes, Info
    drivers          Native and Lxc, and the driver of a name

Source: docs/engines.md#execdriver.
"""

from ocirun.execdriver.driver import Command, Driver, Info, Pipes
from ocirun.execdriver.drivers import Lxc, Native, new_driver

__all__ = ["Command", "Driver", "Info", "Lxc", "Native", "Pipes", "new_driver"]
