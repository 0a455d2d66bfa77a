from support.native import the_extension

__all__ = ["the_extension"]
