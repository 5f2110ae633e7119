"""The account's orders and what becomes of them: matching, money, positions."""
