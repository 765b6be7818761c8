"""Train one encoder, cut a compatible subnetwork for every device, and plan what each device affords.

* `prunnet.package.load_encoder` reads an encoder package, `prunnet.prunable.PrunableEncoder` cuts it.
* `prunnet.train` trains one, `prunnet.evaluation` measures it.
* `prunnet.profile`, `prunnet.cost` and `prunnet.solver` choose the capacity for a device.
"""
