"""When to do it again: cron with time zones, schedules, and firing what is due (contract section 4).

The arithmetic stands apart from the tables: `zones`, `clock_changes`, `cron_fields`, `cron`, `cron_times` and
`due_times` know neither Django nor the database, and take every moment as an argument.
"""
