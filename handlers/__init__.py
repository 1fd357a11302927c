"""What runs inside an application: from a logging call to one line of JSON bytes, offered to an `Outlet`."""
