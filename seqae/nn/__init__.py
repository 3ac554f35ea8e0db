"""The parts of the models: encoders, latents, decoders with their recurrence, likelihoods."""
