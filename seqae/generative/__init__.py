"""The generative side: models of images, bounds on the likelihood, what a latent space is worth, what samples are."""
