from angiosynth.cli import app

if __name__ == "__main__":  # worker processes import this file again
    app()
