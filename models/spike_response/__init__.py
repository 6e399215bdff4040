"""The spike-response network: potential, escape noise, population features, stimulus filters, latent drive."""
