//! The screens, as a terminal would show them, and what keys do.
