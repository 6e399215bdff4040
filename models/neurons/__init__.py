"""Single-neuron models: parameters, one step, and the equation in the class docstring."""
