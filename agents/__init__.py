"""The agents, one per stage: decode → pure call → table or send. They decide nothing; the domain does.

intake → receipts → damages → stock → reservations → availability
"""
