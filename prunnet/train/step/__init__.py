"""One step of training: the losses of all capacities, their gradients, and how they become one."""
