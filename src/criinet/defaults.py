"""What a training takes where nobody chose, by name: to show it, a command need load neither."""

DEFAULT_METHOD = "crii-plus"
DEFAULT_NETWORK = "lite0-unet"
